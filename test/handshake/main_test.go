package handshake

import (
	"testing"

	"go.uber.org/goleak"
)

// Both doors end with everything that they have started.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
