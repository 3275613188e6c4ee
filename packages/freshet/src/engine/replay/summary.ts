/** Fields of a snapshot's summary that name the replay it belongs to. */
export const replayKey = 'freshet.replay'
export const undoKey = 'freshet.replay-undo'
