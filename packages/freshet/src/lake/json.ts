/**
 * JSON with exact integers. Iceberg ids are 63-bit: read as doubles they would come back changed.
 */

/** Parses JSON; an integer that a number cannot hold exactly becomes a bigint. */
export function parseJson(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
    const source = context?.source
    return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value
  })
}

const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown }

/** Writes JSON; bigints become integers with every digit. */
export function stringifyJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    typeof member === 'bigint' ? rawJSON(String(member)) : member,
  )
}
