// What goes wrong with sealed content, as in fogagent/sealing/errors.py. Messages are sentences for the task's submitter.

export class SealingError extends Error {}

// Bytes were changed, added, swapped or lost since they were sealed.
export class Damaged extends SealingError {}

// The end is missing; what came of it is genuine.
export class Cut extends Damaged {}

// What is said to come from a node does not have its signature.
export class NotByNode extends Damaged {}

// Sealed by a newer program than this one.
export class UnknownVersion extends SealingError {}

// The key is not the one that this was sealed with or for, or nothing can be sealed for it.
export class WrongKey extends SealingError {}

// The reservation names a node that the signed directory does not; it may be newer than the directory.
export class NotInDirectory extends SealingError {}

// It opened, so it is genuine, but it breaks the rules of what belongs inside.
export class BadContent extends SealingError {}

// More than can be sealed as one.
export class TooLarge extends SealingError {}

// The directory is not the panel's, too old, or does not keep its rules.
export class BadDirectory extends SealingError {}
