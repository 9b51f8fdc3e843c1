package store

import (
	"crypto/subtle"
	"time"
)

// Severity of an event. Values are stored and shown; they never change.
type Severity string

const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Alarm   Severity = "alarm" // a person should look now
)

// Event is something that happened. Events are only ever appended. One with Who
// is an audit record: somebody did it.
type Event struct {
	ID        uint64
	At        time.Time
	Kind      string // short and constant, such as "claim.granted"
	Severity  Severity
	Host      string
	Domain    string // UUID
	Migration string
	Decision  string
	Who       string // operator or agent that caused it, "" for the manager itself
	Text      string // in words
}

// SettingAutomation is the setting that stops automation, or lets it go on: "on"
// or "off". Operators change it at run time.
const SettingAutomation = "automation"

// Setting is one value changed at run time, with who changed it and why.
type Setting struct {
	Key    string
	Value  string
	Reason string
	Who    string
	At     time.Time
}

// TokenKind is what a token is good for. Values are stored.
type TokenKind string

const (
	EnrolToken  TokenKind = "enrol"  // lets one host enrol, once
	AccessToken TokenKind = "access" // a bearer token with a role, until it expires
)

// Token is a secret given out; the store knows its hash alone.
type Token struct {
	ID        string
	Kind      TokenKind
	Host      string // that may enrol with it
	Role      string // that it carries
	Hash      []byte // SHA-256 of the secret
	Replace   bool   // the host may take the place of one that is enrolled under its name
	Created   time.Time
	CreatedBy string
	Expires   time.Time // zero: never
	Used      time.Time // zero: not yet
}

// Take is the token as it is once a host has enrolled with it: ErrNotFound when
// the hash is not its secret's, ErrUsed or ErrExpired when it is good no more.
func (k Token) Take(hash []byte, now time.Time) (Token, error) {
	switch {
	case k.Kind != EnrolToken, subtle.ConstantTimeCompare(k.Hash, hash) != 1:
		return Token{}, ErrNotFound
	case !k.Used.IsZero():
		return Token{}, ErrUsed
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return Token{}, ErrExpired
	}
	k.Used = now.UTC()
	return k, nil
}
