/**
 * Data from events is printed on terminals, where a control sequence could move the cursor, rename the window or worse
 * (C0, C1 and DEL), and a bidirectional override could make text read as something else.
 */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g
const unsafeExceptLayout =
  // oxlint-disable-next-line no-control-regex -- as above
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g

const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escape(character: string): string {
  const code = character.charCodeAt(0)
  return (
    named[character] ??
    (code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`)
  )
}

/** `text` on one line and harmless to a terminal: control and direction characters become visible escapes. */
export function sanitiseCell(text: string): string {
  return text.replace(unsafe, escape)
}

/** The same for text of several lines: line feeds and tabs stay. */
export function sanitiseText(text: string): string {
  return text.replace(unsafeExceptLayout, escape)
}
