// Package join is the text of a join token: what an operator copies from the
// manager to a new host so that both know each other without having met.
//
//	vj1.ID.SECRET.CA
//
// All three parts are base64 (URL alphabet, no padding): an id of 9 bytes, by
// which the manager finds its record; a secret of 32 bytes, of which the manager
// keeps the SHA-256 only; and the SHA-256 of the manager's CA certificate (DER),
// by which the host recognises its manager before it has any certificate.
//
// Whose token it is, until when, and that it is used once are kept by the
// manager; they do not belong here.
package join
