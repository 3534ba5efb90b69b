// The public API for the pages: requests carry the session's cookie, writes carry its CSRF token,
// and an unsuccessful answer is thrown as a Problem.

export class Problem extends Error {
  constructor(status, body, retryAfter = 0) {
    super(body.detail || body.title || "The server cannot be reached.");
    this.status = status;
    this.code = body.code || "unreachable";
    this.fields = body.errors || [];
    this.requestId = body.request_id;
    this.retryAfter = retryAfter;
  }

  /** The message about one field of a form, or undefined. */
  about(field) {
    return this.fields.find((error) => error.field === field)?.message;
  }
}

let session = null;
let onSessionEnd = () => {};

export const current = () => session;
export const can = (scope) => Boolean(session?.key?.scopes.includes(scope));
export function whenSessionEnds(act) {
  onSessionEnd = act;
}

async function send(method, path, { body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  if (method !== "GET" && session) sent["x-csrf-token"] = session.csrf_token;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server does not answer. Is it running?" });
  }
  const isJson = /json/.test(answer.headers.get("content-type") || "");
  const data = isJson ? await answer.json() : {};
  return { answer, data };
}

/**
 * Makes one request. Returns { data, next }: the body, and the path of the next page if there is
 * one.
 */
export async function call(method, path, options = {}) {
  const { answer, data } = await send(method, path, options);
  if (answer.ok) return { data, next: nextOf(answer.headers.get("link")) };
  const problem = new Problem(answer.status, data, Number(answer.headers.get("retry-after")) || 0);
  if (answer.status === 401 && !options.signingIn) {
    session = null;
    onSessionEnd();
  }
  throw problem;
}

export const get = async (path, options) => (await call("GET", path, options)).data;
export const post = async (path, body, options) => (await call("POST", path, { ...options, body })).data;
export const put = async (path, body) => (await call("PUT", path, { body })).data;

/** A path with the parameters that have a value. */
export function withQuery(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return query ? `${path}?${query}` : path;
}

function nextOf(link) {
  return /<([^>]+)>;\s*rel="next"/.exec(link || "")?.[1] || null;
}

/** The health of the parts. It is public, and a 503 is an answer like any other. */
export async function health() {
  const { answer, data } = await send("GET", "/readyz");
  if (!data.parts) throw new Problem(answer.status, data);
  return data;
}

/** Keeps the session of an answer, with whose CSRF token writes are sent. */
export const keep = (told) => (session = told);

/** The session that the cookie names, or null; `path` describes it. */
export async function resume(path = "/console/session") {
  try {
    session = await get(path, { signingIn: true });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    session = null;
  }
  return session;
}

/** Signs in with a key, which is not kept, or with the token of a link. */
export async function signIn({ key, link }) {
  const headers = key ? { "x-api-key": key } : {};
  const body = link ? { link } : {};
  session = (await call("POST", "/console/session", { body, headers, signingIn: true })).data;
  return session;
}

export async function signOut(path = "/console/session") {
  await call("DELETE", path);
  session = null;
}
