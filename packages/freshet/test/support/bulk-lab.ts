/** Answers `_bulk` requests as OpenSearch 2 does: item by item, with its statuses and its errors. */
import { gunzipSync } from 'node:zlib'
import type { Reply, SeenRequest } from './sink-lab.ts'

interface BulkItem {
  action: 'index' | 'delete'
  index: string
  id: string
  document: Record<string, unknown> | undefined
}

interface Place {
  _index: string
  _id: string
  version?: number
}

const errors: Readonly<Record<number, { type: string; reason: string }>> = {
  400: { type: 'mapper_parsing_exception', reason: "failed to parse field [n] of type [long] in document with id 'b'" },
  403: { type: 'cluster_block_exception', reason: 'index [orders] blocked by: [FORBIDDEN/8/index write (api)];' },
  404: { type: 'index_not_found_exception', reason: 'no such index [orders]' },
  409: { type: 'version_conflict_engine_exception', reason: 'version conflict, current version is higher' },
  429: { type: 'rejected_execution_exception', reason: 'rejected execution of coordinating operation' },
  503: { type: 'unavailable_shards_exception', reason: '[orders][0] primary shard is not active' },
}

export class BulkLab {
  documents: Record<string, unknown> = {}
  versions: Record<string, number> = {}
  /** The status that an item is refused with; undefined: it is taken. */
  judge: (item: BulkItem) => number | undefined = () => undefined

  answer({ headers, body }: SeenRequest): Reply {
    const text = (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString()
    if (!text.endsWith('\n')) return { status: 400, body: 'The bulk request must be terminated by a newline [\\n]' }
    const lines = text.split('\n').slice(0, -1)
    const items: unknown[] = []
    while (lines.length > 0) {
      const [[action, place] = []] = Object.entries(JSON.parse(lines.shift()!) as Record<string, Place>)
      const document = action === 'index' ? (JSON.parse(lines.shift()!) as Record<string, unknown>) : undefined
      items.push({ [action!]: this.#take(action as BulkItem['action'], place!, document) })
    }
    const failed = items.some((item) => Object.values(item as object).some((one: object) => 'error' in one))
    return { status: 200, body: JSON.stringify({ took: 1, errors: failed, items }) }
  }

  #take(action: BulkItem['action'], place: Place, document: Record<string, unknown> | undefined): object {
    const { _index: index, _id: id, version } = place
    const key = `${index}/${id}`
    const older = version !== undefined && version < (this.versions[key] ?? 0)
    const status = this.judge({ action, index, id, document }) ?? (older ? 409 : undefined)
    if (status !== undefined) return { _index: index, _id: id, status, error: errors[status] }
    if (version !== undefined) this.versions[key] = version
    const there = Object.hasOwn(this.documents, key)
    if (action === 'index') this.documents[key] = document
    else delete this.documents[key]
    const result = action === 'index' ? (there ? 'updated' : 'created') : there ? 'deleted' : 'not_found'
    return { _index: index, _id: id, result, status: result === 'not_found' ? 404 : result === 'created' ? 201 : 200 }
  }
}
