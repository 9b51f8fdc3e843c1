package pki

import (
	"errors"
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/wire/join"
)

// TokenRecord is what the manager keeps of a join token: enough to check one,
// not enough to make one.
type TokenRecord struct {
	ID         string
	SecretHash string // hex SHA-256
	Host       string // the only host it may enrol
	Replace    bool   // the host may be known already
	Created    time.Time
	Expires    time.Time
	Used       time.Time // zero until then
}

// NewToken makes a join token for a host. The text is shown once, to the
// operator; the record is kept.
func (ca *CA) NewToken(host string, validFor time.Duration, replace bool, now time.Time) (text string, rec TokenRecord, err error) {
	if !ValidName(host) {
		return "", TokenRecord{}, fmt.Errorf("%q is no name for a host", host)
	}
	if validFor <= 0 {
		return "", TokenRecord{}, fmt.Errorf("a token valid for %s is of no use", validFor)
	}
	t := join.New(ca.SHA256())
	return t.Text(), TokenRecord{
		ID: t.ID, SecretHash: t.SecretHash(), Host: host, Replace: replace,
		Created: now, Expires: now.Add(validFor),
	}, nil
}

// Why a token does not open the door.
var (
	ErrTokenSecret  = errors.New("the join token is not one of this manager's")
	ErrTokenUsed    = errors.New("the join token has been used")
	ErrTokenExpired = errors.New("the join token has expired")
	ErrTokenHost    = errors.New("the join token is for another host")
)

// Check says whether a presented token opens the door to host at now. The
// secret is looked at first: who does not know it learns nothing about the rest.
func (r TokenRecord) Check(t join.Token, host string, now time.Time) error {
	switch {
	case t.ID != r.ID || !t.Matches(r.SecretHash):
		return ErrTokenSecret
	case !r.Used.IsZero():
		return ErrTokenUsed
	case !now.Before(r.Expires):
		return ErrTokenExpired
	case host != r.Host:
		return ErrTokenHost
	}
	return nil
}
