// The console's words for what messages of the API name: fields of a request, and routes.

const LABELS = { local_part: "name before the @", user_id: "user", quota_bytes: "quota", display_name: "display name" };
const FIELD = /(?<![\w@.-])[a-z]+(?:_[a-z]+)+(?![\w@])/g;
const ROUTE = / \((?:GET|POST|PUT|DELETE) \/[^)]*\)/g;

/** A message of the API in the words of the console's forms. */
export function inLabels(text) {
  return text.replace(ROUTE, "").replace(FIELD, (name) => LABELS[name] || name);
}
