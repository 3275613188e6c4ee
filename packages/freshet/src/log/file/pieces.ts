import type { FileHandle } from '../../runtime/file-system.ts'

const pieceBytes = 4 * 1024 * 1024

/** Reads a range in pieces, the next one while `onPiece` works on one; returns how many bytes there were. */
export async function readPieces(
  file: FileHandle,
  range: { from: number; length: number },
  onPiece: (piece: Buffer) => void,
): Promise<number> {
  const read = async (at: number): Promise<Buffer> =>
    file.read(range.from + at, Math.min(pieceBytes, range.length - at))
  let done = 0
  let ahead = range.length > 0 ? read(0) : undefined
  while (ahead !== undefined) {
    const piece: Buffer = await ahead
    done += piece.length
    ahead = piece.length > 0 && done < range.length ? read(done) : undefined
    // It fails, if it does, when it is waited for.
    ahead?.catch(() => undefined)
    onPiece(piece)
  }
  return done
}
