/**
 * What is wrong when S3, or a server that talks like it, does not do what it was asked for. The SDK's errors stay in here: they have
 * what was signed, and whole answers. Of what a server says only its code and some words go on.
 */
import { FreshetError, messageOf, systemCodeOf } from '../../runtime/errors.ts'

export interface S3Problem {
  /** `AccessDenied`, `ECONNREFUSED`; empty where there is none. */
  code: string
  /** HTTP status; undefined without an answer. */
  status: number | undefined
  /** Whether the same request may succeed a moment later. */
  passing: boolean
  /** The region that the bucket is in, where the server says so. */
  region: string | undefined
  words: string
}

/** Codes of errors that pass though their status is not one of those that do. */
const passingCodes = new Set(['SlowDown', 'RequestTimeout', 'Throttling', 'ThrottlingException', 'OperationAborted'])
const passingStatuses = new Set([408, 409, 425, 429])

/** @throws the error itself when it comes neither from a server nor from the way to it */
export function problemOf(error: unknown): S3Problem {
  if (!(error instanceof Error)) throw error
  const { $metadata, $response, Code, Region } = error as Error & {
    $metadata?: { httpStatusCode?: number }
    $response?: { statusCode?: number; headers?: Record<string, string> }
    Code?: string
    Region?: string
  }
  const status = $metadata?.httpStatusCode ?? $response?.statusCode
  const words = messageOf(error).replaceAll(/\s+/g, ' ').slice(0, 200)
  if (status !== undefined) {
    const code = Code ?? (error.name === 'Error' ? '' : error.name)
    const passing =
      (status >= 500 && status !== 501) || passingStatuses.has(status) || passingCodes.has(code) || status < 300
    return { code, status, passing, region: Region ?? $response?.headers?.['x-amz-bucket-region'], words }
  }
  const code = systemCodeOf(error) ?? error.name
  const setUp = code === 'CredentialsProviderError' || words.startsWith('Region is missing')
  if (!setUp && systemCodeOf(error) === undefined && code !== 'TimeoutError' && code !== 'AbortError') throw error
  return { code, status, passing: !setUp, region: undefined, words }
}

export interface Asked {
  /** What was to be done, as words behind "may not": `put a/b`. */
  what: string
  bucket: string
  /** Where it is, for messages. */
  at: string
}

const wrongKeys = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'InvalidToken',
  'ExpiredToken',
  'InvalidClientTokenId',
])
const otherRegions = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
])

/** The error that says it, and what to do. */
export function s3Error(problem: S3Problem, { what, bucket, at }: Asked): FreshetError {
  const { code, status, region, words } = problem
  const answer = [status, code].filter((part) => part !== undefined && part !== '').join(' ')
  if (code === 'CredentialsProviderError')
    return told(
      `No credentials were found for the bucket ${bucket}.`,
      'Set `accessKeyId` and `secretAccessKey`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the server.',
    )
  if (status === undefined && words.startsWith('Region is missing'))
    return told(`The region of the bucket ${bucket} is not known.`, "Set `region`, such as 'eu-central-1'.")
  if (status === undefined)
    return told(`${at} cannot be reached: ${code === 'TimeoutError' ? 'no answer in time' : code}.`)
  if (code === 'NoSuchBucket')
    return told(`There is no bucket ${bucket} at ${at}.`, 'Make it, or mend the name; this needs one that is there.')
  if (otherRegions.has(code) || status === 301)
    return told(
      `The bucket ${bucket} is in another region${region === undefined ? '' : `, ${region}`} (${answer}).`,
      region === undefined ? 'Set `region` to that of the bucket.' : `Set \`region\` to '${region}'.`,
    )
  if (wrongKeys.has(code))
    return told(`${at} does not know these credentials (${answer}).`, 'Check `accessKeyId` and `secretAccessKey`.')
  if (code === 'RequestTimeTooSkewed')
    return told(`The clock of this machine and that of ${at} differ too much (${answer}).`, 'Set the clock.')
  if (status === 403)
    return told(
      `The credentials may not ${what} in the bucket ${bucket} (${answer}).`,
      'They need s3:PutObject, s3:GetObject and s3:ListBucket there.',
    )
  if (status === 501)
    return told(`${at} cannot do what is needed to ${what} (${answer}): ${words}`, 'It has to know If-None-Match.')
  return told(`${at} did not ${what} in the bucket ${bucket}: ${answer}${problem.passing ? '' : `, ${words}`}.`)
}

function told(message: string, hint?: string): FreshetError {
  return new FreshetError('object_store_unusable', message, hint === undefined ? {} : { hint })
}
