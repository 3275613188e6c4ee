import { hourMs } from '../../lake/ledger-rows.ts'

const micros = 'epoch_us(_received_at)'
const width = BigInt(hourMs) * 1000n

/**
 * SQL for the hour in which a row of a stream arrived, as the ledger counts them: whole hours since 1970, rounded down, also before; 0 for a row that
 * says no time. In integers, since doubles are not exact.
 */
export const arrivalHour = `coalesce((${micros} - ((${micros} % ${width}) + ${width}) % ${width}) // ${width}, 0)`
