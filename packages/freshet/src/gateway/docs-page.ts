/** The API description as one HTML page: no scripts, nothing loaded from anywhere. */
import { createHash } from 'node:crypto'
import type { OpenApiDocument } from './openapi.ts'
import type { OpenApiOperation } from './openapi-parts.ts'

export interface DocsPage {
  html: string
  /** Content-Security-Policy that allows the page's own style and nothing else. */
  policy: string
}

/** @param url where the server answers, for the lines to try */
export function docsPage(document: OpenApiDocument, url: string): DocsPage {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  )
  const contents = operations.map(
    ({ method, path }) => `<li><a href="#${anchor(method, path)}">${heading(method, path)}</a></li>`,
  )
  const sections = operations.map(({ method, path, operation }) => section(method, path, operation, document, url))
  const schemas = Object.entries(document.components.schemas).map(
    ([name, schema]) =>
      `<details id="schema-${escapeHtml(name)}"><summary><code>${escapeHtml(name)}</code></summary>${code(JSON.stringify(schema, null, 2))}</details>`,
  )
  const html = [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escapeHtml(document.info.title)} API</title><style>${style}</style></head><body><main>`,
    `<h1>${escapeHtml(document.info.title)} <small>${escapeHtml(document.info.version)}</small></h1>`,
    `<p>${escapeHtml(document.info.description)} <a href="/openapi.json">openapi.json</a></p>`,
    `<nav><ul>${contents.join('')}</ul></nav>`,
    ...sections,
    `<h2>Schemas</h2>${schemas.join('')}`,
    '</main></body></html>\n',
  ].join('\n')
  const digest = createHash('sha256').update(style).digest('base64')
  const policy = `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  return { html, policy }
}

function section(
  method: string,
  path: string,
  operation: OpenApiOperation,
  document: OpenApiDocument,
  url: string,
): string {
  const parameters = (operation.parameters ?? []).map(
    ({ name, in: place, required, description, schema }) =>
      `<tr><td><code>${escapeHtml(name)}</code>${required === true ? ' *' : ''}</td><td>${place}</td><td>${markCode(description)}</td>` +
      `<td><code>${escapeHtml(JSON.stringify(schema))}</code></td></tr>`,
  )
  const bodies = Object.entries(operation.requestBody?.content ?? {}).map(
    ([type, { schema }]) => `<li><code>${type}</code> ${schemaText(schema)}</li>`,
  )
  const answers = Object.entries(operation.responses).map(
    ([status, { description, content = {} }]) =>
      `<tr><td><code>${status}</code></td><td>${markCode(description)}</td><td>${Object.entries(content)
        .map(([type, { schema }]) => `<code>${type}</code> ${schemaText(schema)}`)
        .join('<br>')}</td></tr>`,
  )
  return [
    `<section id="${anchor(method, path)}"><h2>${heading(method, path)}</h2>`,
    `<p><strong>${escapeHtml(operation.summary)}.</strong> ${markCode(operation.description ?? '')}</p>`,
    parameters.length > 0 ? `<h3>Parameters</h3><table>${parameters.join('')}</table>` : '',
    bodies.length > 0 ? `<h3>Body</h3><ul>${bodies.join('')}</ul>` : '',
    `<h3>Answers</h3><table>${answers.join('')}</table>`,
    `<h3>Try it</h3>${code(tryIt(method, path, document, url))}</section>`,
  ].join('\n')
}

function tryIt(method: string, path: string, document: OpenApiDocument, url: string): string {
  if (path === '/v1/sql')
    return `curl ${url}/v1/sql -H 'content-type: application/sql' -d 'select * from freshet.streams'`
  if (method === 'get') return `curl ${url}${path.replaceAll(/[{}]/g, '')}`
  if (path === '/v1/sites/{site}') return siteLines[method]!.replace('{url}', url)
  if (path.startsWith('/v1/objects')) return objectLines[`${method} ${path.split('/').length}`]!.replace('{url}', url)
  const declared = Object.keys(document.components.schemas).find((name) => name.startsWith('event.'))
  const stream = declared?.slice('event.'.length) ?? 'events'
  if (path.endsWith('/heartbeats')) {
    return `curl ${url}${path.replace('{stream}', stream)} -H 'content-type: application/json' -H 'freshet-source: london' -d '{"until":"2026-11-20T12:00:00Z"}'`
  }
  const event = declared === undefined ? { hello: 'world' } : example(document.components.schemas[declared] as Schema)
  const text = JSON.stringify(event).replaceAll("'", String.raw`'\''`)
  return [
    `curl ${url}${path.replace('{stream}', stream)} -H 'content-type: application/json' -d '${text}'`,
    `gzip -c events.ndjson | curl ${url}${path.replace('{stream}', stream)} -H 'content-type: application/x-ndjson' -H 'content-encoding: gzip' --data-binary @-`,
  ].join('\n')
}

const siteLines: Readonly<Record<string, string>> = {
  put: `curl -X PUT {url}/v1/sites/london -H 'content-type: application/json' -d '{"streams":"all"}'`,
  delete: 'curl -X DELETE {url}/v1/sites/london',
}

/** By the method and the length of the path: that of a bucket, or of an object. */
const objectLines: Readonly<Record<string, string>> = {
  'post 4': "curl -X POST '{url}/v1/objects/logs?rotate'",
  'put 5': 'curl -T printer.log {url}/v1/objects/logs/2026/printer.log',
  'post 5': "curl -X POST '{url}/v1/objects/logs/2026/printer.log?uploads'",
  'delete 5': 'curl -X DELETE {url}/v1/objects/logs/2026/printer.log',
}

interface Schema {
  type?: string | string[]
  format?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  enum?: unknown[]
  examples?: unknown[]
}

/** A value of about the right shape; it shows the fields, and need not pass every rule of the schema. */
function example(schema: Schema): unknown {
  if (schema.examples?.[0] !== undefined) return schema.examples[0]
  if (schema.enum !== undefined) return schema.enum[0]
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  switch (type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, member]) => [name, example(member)]),
      )
    case 'array':
      return schema.items === undefined ? [] : [example(schema.items)]
    case 'integer':
    case 'number':
      return 1
    case 'boolean':
      return true
    case 'string':
      return schema.format === 'date-time' ? '2026-11-20T12:00:00Z' : 'text'
    default:
      return null
  }
}

function schemaText(schema: unknown): string {
  const name = (schema as { $ref?: string } | undefined)?.$ref?.split('/').at(-1)
  if (name !== undefined) return `<a href="#schema-${escapeHtml(name)}">${escapeHtml(name)}</a>`
  return schema === undefined ? '' : `<code>${escapeHtml(JSON.stringify(schema))}</code>`
}

function heading(method: string, path: string): string {
  return `<code>${method.toUpperCase()} ${escapeHtml(path)}</code>`
}

function anchor(method: string, path: string): string {
  return `${method}${path.replaceAll(/[^a-z0-9]+/gi, '-')}`
}

function code(text: string): string {
  return `<pre><code>${escapeHtml(text)}</code></pre>`
}

/** Escapes text and shows what stands in backticks as code. */
function markCode(text: string): string {
  return escapeHtml(text).replaceAll(/`([^`]*)`/g, '<code>$1</code>')
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character]!)
}

const style = `
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:auto;padding:1rem}
h2{border-top:1px solid #8886;padding-top:1.5rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td{border:1px solid #8886;padding:.3rem .6rem;vertical-align:top}
pre{background:#8882;padding:.8rem;overflow-x:auto;border-radius:.3rem}
code{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}
small{opacity:.6}`
