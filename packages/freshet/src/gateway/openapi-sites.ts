/** The routes of sites and heartbeats, for openapi.ts. */
import { header, json, problems, ref, type OpenApiOperation } from './openapi-parts.ts'

const site = {
  name: 'site',
  in: 'path',
  required: true,
  description: 'Name of the site, percent-encoded: the `_source` of its events.',
  schema: { type: 'string', minLength: 1, maxLength: 128, pattern: '^[\\x20-\\x7e]+$' },
}

const list: OpenApiOperation = {
  summary: 'List sites',
  responses: {
    '200': { description: 'The registered sites, by name.', content: json(ref('SiteList')) },
    ...problems(['forbidden_host', 'sites_unavailable', 'shutting_down']),
  },
}

const put: OpenApiOperation = {
  summary: 'Add or change a site',
  description:
    'An active site holds back `complete_through` of its streams until it has reported; a paused one does not. ' +
    'What is left out of the body stays as it is; to add a site, `streams` is needed. The answer comes when the change is on disk.',
  parameters: [site],
  requestBody: { required: true, content: json(ref('SiteChange')) },
  responses: {
    '200': { description: 'The site was there, and is now like this.', content: json(ref('Site')) },
    '201': { description: 'The site was added.', content: json(ref('Site')) },
    ...problems([
      'invalid_body',
      'invalid_json',
      'invalid_request',
      'forbidden_host',
      'unknown_site',
      'unknown_stream',
      'body_too_large',
      'unsupported_encoding',
      'unsupported_media_type',
      'too_many_sites',
      'overloaded',
      'sites_unavailable',
      'shutting_down',
    ]),
  },
}

const remove: OpenApiOperation = {
  summary: 'Remove a site',
  description: 'Its events stay; it holds back `complete_through` no more.',
  parameters: [site],
  responses: {
    '204': { description: 'The site is not registered any more.' },
    ...problems(['invalid_request', 'forbidden_host', 'unknown_site', 'sites_unavailable', 'shutting_down']),
  },
}

const heartbeat: OpenApiOperation = {
  summary: 'Report that there is nothing until a time',
  description:
    'Says that the source has sent every event of the stream with an event time up to `until`, so that ' +
    '`complete_through` can go on while it has nothing to send. The answer comes when it is on disk.',
  parameters: [
    {
      ...site,
      name: 'stream',
      description: 'A stream.',
      schema: { type: 'string', pattern: '^[a-z][a-z0-9_]{0,62}$' },
    },
    { ...header('Freshet-Source', 'Name of the site.', 128), required: true },
  ],
  requestBody: { required: true, content: json(ref('Heartbeat')) },
  responses: {
    '202': { description: 'It is on disk.', content: json(ref('HeartbeatAnswer')) },
    ...problems([
      'invalid_body',
      'invalid_json',
      'invalid_header',
      'invalid_request',
      'forbidden_host',
      'unknown_stream',
      'body_too_large',
      'unsupported_encoding',
      'unsupported_media_type',
      'log_unwritable',
      'disk_full',
      'overloaded',
      'shutting_down',
    ]),
  },
}

export const siteOperations = { list, put, remove, heartbeat }
