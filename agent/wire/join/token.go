package join

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	version   = "vj1"
	idBytes   = 9
	secretLen = 32
)

// ErrMalformed is what Parse says of a text that is no token.
var ErrMalformed = errors.New("not a join token (expected vj1.ID.SECRET.CA, as `vireo agents token` prints it)")

// Token is a parsed join token. It holds a secret: never log it; ID is fit to
// be logged.
type Token struct {
	ID     string            // names the manager's record
	Secret [secretLen]byte   // proves the right to enrol, once
	CA     [sha256.Size]byte // SHA-256 of the manager's CA certificate in DER
}

// New makes a token with a random id and secret.
func New(ca [sha256.Size]byte) Token {
	var id [idBytes]byte
	t := Token{CA: ca}
	rand.Read(id[:]) // never fails, see its documentation
	rand.Read(t.Secret[:])
	t.ID = encode(id[:])
	return t
}

// Text is what the operator copies.
func (t Token) Text() string {
	return strings.Join([]string{version, t.ID, encode(t.Secret[:]), encode(t.CA[:])}, ".")
}

// String hides the secret, so that a token that is logged by mistake is none.
func (t Token) String() string { return version + "." + t.ID + ".…" }

// SecretHash is what the manager keeps: the SHA-256 of the secret. The secret
// is random and long, so a plain hash gives nothing away.
func (t Token) SecretHash() []byte {
	sum := sha256.Sum256(t.Secret[:])
	return sum[:]
}

// Parse reads a token's text, with spaces around it allowed. The error never
// repeats the text.
func Parse(text string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 4 || parts[0] != version {
		return Token{}, ErrMalformed
	}
	var t Token
	id, err := decode(parts[1], idBytes)
	if err != nil {
		return Token{}, fmt.Errorf("id: %w", err)
	}
	t.ID = encode(id)
	secret, err := decode(parts[2], secretLen)
	if err != nil {
		return Token{}, fmt.Errorf("secret: %w", err)
	}
	copy(t.Secret[:], secret)
	ca, err := decode(parts[3], sha256.Size)
	if err != nil {
		return Token{}, fmt.Errorf("CA: %w", err)
	}
	copy(t.CA[:], ca)
	return t, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(text string, want int) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != want {
		return nil, ErrMalformed
	}
	return b, nil
}
