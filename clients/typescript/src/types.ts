// The types of each operation, from the OpenAPI document.
//
// The client asks for whole accounts and domains (`fields=*`), so their members are all there.
import type { ROUTES } from "./routes.js";
import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];

/** An account with all its fields. */
export type Account = Required<Schemas["Account"]>;
/** A domain with all its fields. */
export type Domain = Required<Schemas["Domain"]>;
export type Event = Schemas["ShownEvent"];
export type Problem = Schemas["Problem"];
/** The stable code of an error. */
export type ErrorCode = Problem["code"];
/** The name of an operation, such as `accounts.create`. */
export type OperationName = keyof typeof ROUTES;

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type Whole<T> =
  Same<T, Schemas["Account"]> extends true ? Account
  : Same<T, Schemas["Domain"]> extends true ? Domain
  : T extends ArrayBuffer ? T
  : T extends readonly (infer Item)[] ? Whole<Item>[]
  : T extends object ? { [Key in keyof T]: Whole<T[Key]> }
  : T;

type Parameters<Name extends OperationName> = operations[Name]["parameters"];
type Given<Part, Key extends string> = [Part] extends [never] ? unknown : { [name in Key]: Part };
type Query<Name extends OperationName> = NonNullable<Parameters<Name>["query"]>;
// A query is required where one of its parameters is.
type QueryOption<Part> =
  [Part] extends [never] ? unknown
  : {} extends Part ? { query?: Omit<Part, "fields"> }
  : { query: Omit<Part, "fields"> };
type Body<Name extends OperationName> =
  operations[Name] extends { requestBody: { content: infer Content } } ? Content[keyof Content] : never;

/** What a call of the operation takes. */
export type Options<Name extends OperationName> = Given<NonNullable<Parameters<Name>["path"]>, "path"> &
  QueryOption<Query<Name>> &
  Given<Body<Name>, "body"> & {
    /** Give the same key to send the same request again: it is carried out once, for 24 hours. */
    idempotencyKey?: string;
  };

// Bytes, which the document describes as text.
type Bytes = "application/octet-stream" | "message/rfc822";
type Content<Response> =
  Response extends { content: infer Types } ? (keyof Types extends Bytes ? ArrayBuffer : Types[keyof Types]) : never;
type Success<Responses> =
  Responses extends { 200: infer Response } ? Content<Response>
  : Responses extends { 201: infer Response } ? Content<Response>
  : Responses extends { 202: infer Response } ? Content<Response>
  : never;

/** What a call of the operation returns. */
export type Answer<Name extends OperationName> = Whole<Success<operations[Name]["responses"]>>;

/** The operations whose answer has no end. */
export type StreamName = "message_changes.follow";

/** An event of a stream of changes. A stream goes on after `last_event_id`, also in another program. */
export interface MailboxChange {
  type: "mailbox_changed";
  mailbox: string;
  uidvalidity: string;
  token: string;
  eventType: "state" | "created" | "deleted" | "reset" | "added" | "removed" | "updated";
  last_event_id: string;
}

/** The operations whose answer is a page of a list. */
export type ListName = {
  [Name in OperationName]: Query<Name> extends { after?: number } | { before_uid?: number } ? Name : never;
}[OperationName];

/** One item of the list. */
export type Item<Name extends ListName> = Answer<Name> extends { items: (infer One)[] } ? One : never;
