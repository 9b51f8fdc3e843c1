package leader

import (
	"errors"

	"connectrpc.com/connect"
)

// Header holds the leader's URL. A manager that does not lead sends it with every
// refusal, empty when it knows of no leader.
const Header = "Vireo-Leader"

// Of says whether a call was refused by a manager that does not lead, and where
// the leader is, "" when that one did not know.
func Of(err error) (url string, refused bool) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return "", false
	}
	values := ce.Meta().Values(Header)
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}
