import { FreshetError } from '../../runtime/errors.ts'

/** What keeps a sink from its target, said for those who can mend it: delivery is tried again until then. */
export function targetFault(message: string, hint?: string, cause?: unknown): FreshetError {
  return new FreshetError('sink_target_unusable', message, {
    ...(hint !== undefined && { hint }),
    ...(cause !== undefined && { cause }),
  })
}
