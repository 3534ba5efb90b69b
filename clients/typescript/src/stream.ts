import type { MailboxChange } from "./types.js";

const PAUSE = 1000;
// Milliseconds of silence after which a stream is lost: three heartbeats.
const SILENCE = 45_000;

/** The events of a response, until it ends or its connection breaks. `last` is the id of the event before. */
export async function* events(response: Response, last: string): AsyncGenerator<MailboxChange> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data = "";
  let id = last;
  try {
    for (let piece = await within(reader?.read()); piece && !piece.done; piece = await within(reader?.read())) {
      const lines = (rest + decoder.decode(piece.value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("data: ")) data += line.slice(6);
        else if (line.startsWith("id: ")) id = line.slice(4);
        else if (line === "" && data) {
          yield { ...(JSON.parse(data) as Omit<MailboxChange, "last_event_id">), last_event_id: id };
          data = "";
        }
      }
    }
  } finally {
    await reader?.cancel().catch(() => undefined);
  }
}

/** The next piece; undefined if the connection is broken or silent. */
async function within<T>(read: Promise<T> | undefined): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), SILENCE)));
  try {
    return await Promise.race([read, silence]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Waits before a stream is opened again, with jitter, or until the signal. */
export async function pause(signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, PAUSE * (0.5 + Math.random()));
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
