import type { ErrorCode, Problem } from "./types.js";

/** A call that failed. Decide by `code`. */
export class PostroomError extends Error {
  /** The code of the API, or `unreachable` (no answer) or `unknown_answer` (not Postroom's). */
  readonly code: ErrorCode | "unreachable" | "unknown_answer";
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  readonly detail: string;
  /** Each field that is wrong. */
  readonly errors: NonNullable<Problem["errors"]>;
  readonly requestId: string;
  /** With `limit_reached`: the limit. */
  readonly limit: number | undefined;
  /** Seconds to wait, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(
    problem: Partial<Omit<Problem, "code">> & Pick<PostroomError, "code" | "status" | "detail">,
    retryAfter?: number,
    cause?: unknown,
  ) {
    const errors = problem.errors ?? [];
    const others = errors.filter((error) => error.message !== problem.detail);
    const fields = others.map((error) => ` ${error.field}: ${error.message}`).join("");
    super(`${problem.code}: ${problem.detail}${fields}`, cause === undefined ? undefined : { cause });
    this.name = "PostroomError";
    this.code = problem.code;
    this.status = problem.status;
    this.detail = problem.detail;
    this.errors = errors;
    this.requestId = problem.request_id ?? "";
    this.limit = problem.limit ?? undefined;
    this.retryAfter = retryAfter;
  }
}
