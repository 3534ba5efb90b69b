import { PostroomError } from "./errors.js";
import { ROUTES } from "./routes.js";
import { events, pause } from "./stream.js";
import type { Answer, Item, ListName, MailboxChange, OperationName, Options, StreamName } from "./types.js";

export { PostroomError } from "./errors.js";
export { ROUTES } from "./routes.js";
export type { components, operations, paths } from "./schema.js";
export type { Account, Answer, Domain, ErrorCode, Event, Item, ListName, MailboxChange, OperationName, Options, Problem, StreamName } from "./types.js";

export interface ClientOptions {
  /** The address of the API; default: the environment's POSTROOM_URL. */
  url?: string;
  /** The key; default: the environment's POSTROOM_API_KEY. */
  apiKey?: string;
  /** A mail token, in place of the key. */
  mailToken?: string;
  /** The time for one attempt, in milliseconds. */
  timeout?: number;
  /** How often a call is tried again. */
  retries?: number;
  /** The longest wait before a retry, in milliseconds. */
  longestWait?: number;
}

interface Sent {
  path?: Record<string, string | number>;
  query?: Record<string, unknown>;
  body?: unknown;
  idempotencyKey?: string;
}

const BYTES = ["application/octet-stream", "message/rfc822"];
const FIRST_WAIT = 250;
const LONGEST_BACKOFF = 8000;

/** A client of the API. It tries again by itself, and carries out no call twice. */
export class Client {
  readonly #url: string;
  readonly #credential: Record<string, string>;
  readonly #timeout: number;
  readonly #retries: number;
  readonly #longestWait: number;

  constructor(options: ClientOptions = {}) {
    this.#url = (options.url ?? environment("POSTROOM_URL")).replace(/\/+$/, "");
    this.#credential = credentialOf(options);
    this.#timeout = options.timeout ?? 30_000;
    this.#retries = options.retries ?? 4;
    this.#longestWait = options.longestWait ?? 60_000;
    if (!/^https?:\/\//.test(this.#url)) throw new TypeError("Give url, or set POSTROOM_URL: http://… or https://…");
  }

  /** Calls an operation by its name. Throws PostroomError. */
  async call<Name extends Exclude<OperationName, StreamName>>(
    name: Name,
    ...[options]: {} extends Options<Name> ? [Options<Name>?] : [Options<Name>]
  ): Promise<Answer<Name>> {
    const response = await this.#try(name, (options ?? {}) as Sent);
    return (await read(response)) as Answer<Name>;
  }

  /** The items of a list, page by page as they are needed; `limit` is the size of a page. */
  async *list<Name extends ListName>(name: Name, options: Options<Name> | undefined = undefined): AsyncGenerator<Item<Name>> {
    let next: string | undefined;
    do {
      const response = await this.#try(name, (options ?? {}) as Sent, next);
      const page = (await read(response)) as { items: Item<Name>[] };
      next = nextOf(response);
      yield* page.items;
    } while (next !== undefined);
  }

  /**
   * The events of a stream, as they happen. It is opened again when it ends, and misses nothing; its end is an error
   * that no retry can fix, or that of the signal.
   */
  async *follow<Name extends StreamName>(name: Name, options: Options<Name>, signal?: AbortSignal): AsyncGenerator<MailboxChange> {
    const sent = options as Sent;
    let last = String(sent.query?.["last_event_id"] ?? "");
    while (!signal?.aborted) {
      const response = await this.#try(name, { ...sent, query: { ...sent.query, last_event_id: last || undefined } }, undefined, signal ?? null);
      for await (const event of events(response, last)) {
        last = event.last_event_id;
        yield event;
      }
      await pause(signal);
    }
  }

  async #try(name: OperationName, sent: Sent, target?: string, stream?: AbortSignal | null): Promise<Response> {
    const [method, template, hasFields] = ROUTES[name];
    const query = hasFields ? { fields: "*", ...sent.query } : sent.query;
    const address = this.#url + (target ?? pathOf(template, sent.path ?? {}) + queryOf(query ?? {}));
    const headers = { ...this.#credential };
    if (method !== "GET") headers["idempotency-key"] = sent.idempotencyKey ?? crypto.randomUUID();
    const isText = typeof sent.body === "string";
    if (sent.body !== undefined) headers["content-type"] = isText ? "text/xml" : "application/json";
    const body = sent.body === undefined ? {} : { body: isText ? (sent.body as string) : JSON.stringify(sent.body) };
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#send(address, { method, headers, redirect: "error", ...body }, stream);
      if (outcome instanceof Response && (outcome.ok || (name === "health.ready" && !isProblem(outcome)))) return outcome;
      const error = outcome instanceof Response ? await problemOf(outcome) : outcome;
      const wait = (error.retryAfter ?? 0) * 1000 + backoff(attempt);
      const again = [0, 429, 503].includes(error.status) || error.code === "idempotency_conflict";
      if (!again || attempt >= this.#retries || wait > this.#longestWait) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  async #send(address: string, init: RequestInit, stream?: AbortSignal | null): Promise<Response | PostroomError> {
    try {
      if (stream !== undefined) return await fetch(address, { ...init, signal: stream });
      const response = await fetch(address, { ...init, signal: AbortSignal.timeout(this.#timeout) });
      const body = await response.arrayBuffer(); // a connection that breaks here counts as no answer too
      return new Response(body.byteLength ? body : null, response);
    } catch (cause) {
      return new PostroomError({ code: "unreachable", status: 0, detail: "There was no answer." }, undefined, cause);
    }
  }
}

/** The header that says who calls; none for a call to a public route. */
function credentialOf({ apiKey, mailToken }: ClientOptions): Record<string, string> {
  if (mailToken !== undefined) {
    if (apiKey !== undefined) throw new TypeError("Give either apiKey or mailToken.");
    return { authorization: `Bearer ${mailToken}` };
  }
  const key = apiKey ?? environment("POSTROOM_API_KEY");
  return key ? { "x-api-key": key } : {};
}

function environment(name: string): string {
  const { process } = globalThis as { process?: { env: Record<string, string | undefined> } };
  return process?.env[name] ?? "";
}

/** The path, with each value as one segment. As `..` a value would lead to another route, escaped too. */
function pathOf(template: string, values: Record<string, string | number>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(values[name]);
    if (/^\.{0,2}$/.test(value)) throw new TypeError(`${name} is no value for a path.`);
    return encodeURIComponent(value);
  });
}

function queryOf(query: Record<string, unknown>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** Milliseconds, with jitter, so that many clients do not try again at the same moment. */
function backoff(attempt: number): number {
  return Math.min(FIRST_WAIT * 2 ** attempt, LONGEST_BACKOFF) * (0.5 + Math.random() / 2);
}

function isProblem(response: Response): boolean {
  return (response.headers.get("content-type") ?? "").startsWith("application/problem+json");
}

async function read(response: Response): Promise<unknown> {
  const type = response.headers.get("content-type") ?? "";
  const isJson = type.startsWith("application/json");
  try {
    if (BYTES.includes(type)) return await response.arrayBuffer();
    return isJson ? await response.json() : await response.text();
  } catch {
    throw foreign(response);
  }
}

async function problemOf(response: Response): Promise<PostroomError> {
  const after = response.headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(after) ? Number(after) : undefined;
  try {
    if (isProblem(response)) return new PostroomError(await response.json(), seconds);
  } catch {
    // not a problem after all
  }
  return foreign(response, seconds);
}

function foreign(response: Response, seconds?: number): PostroomError {
  const { status } = response;
  return new PostroomError({ code: "unknown_answer", status, detail: `The answer ${status} is not from Postroom.` }, seconds);
}

/** The address of the next page. The key is sent to no other host. */
function nextOf(response: Response): string | undefined {
  const target = /<([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "")?.[1];
  if (target !== undefined && !/^\/(?!\/)/.test(target)) throw foreign(response);
  return target;
}
