package store

import "errors"

// Engines wrap these with what was tried and on which id; match them with
// errors.Is.
var (
	// ErrNotFound: the record does not exist, or names a host that does not.
	ErrNotFound = errors.New("not found")
	// ErrStale: the claim's epoch is not the expected one. Somebody was faster;
	// read again and decide again.
	ErrStale = errors.New("stale epoch")
	// ErrFenced: another manager has raised the term or the generation. This
	// one must stop: nothing it says holds any more.
	ErrFenced = errors.New("fenced by a newer term")
	// ErrFull: there is no room to write. What was acknowledged is safe, reads
	// go on, and the same Update succeeds once there is room.
	ErrFull = errors.New("no space left")
	// ErrInvalid: the record contradicts itself or the contract, such as a claim
	// without a domain or with an epoch that the store never gave out.
	ErrInvalid = errors.New("invalid record")
	// ErrReferenced: the host cannot be deleted, claims still name it.
	ErrReferenced = errors.New("claims still name it")
	// ErrUsed: the token has been taken before.
	ErrUsed = errors.New("token already used")
	// ErrExpired: the token's time is over.
	ErrExpired = errors.New("token expired")
	// ErrLocked: another manager has this store open.
	ErrLocked = errors.New("in use by another manager")
	// ErrForeign: this is not the store that the manager worked with before.
	ErrForeign = errors.New("another store")
	// ErrCopy: the store is a copy of another one, or was moved. Whether managers
	// and agents work with the original cannot be known: it needs a restore, which
	// begins a new generation.
	ErrCopy = errors.New("a copy, or moved")
	// ErrCorrupt: the store's own check found damage, or met it while reading.
	ErrCorrupt = errors.New("store is damaged")
	// ErrClosed: this manager has closed the store.
	ErrClosed = errors.New("store is closed")
	// ErrNewer: the store was written by a newer version of vireo.
	ErrNewer = errors.New("written by a newer version")
)
