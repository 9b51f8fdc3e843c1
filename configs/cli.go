package configs

import (
	_ "embed" // the annotated file
	"time"
)

// CLIPath is where vireo reads its configuration when the user has none of their own at CLIUserPath.
const CLIPath = "/etc/vireo/cli.toml"

// CLIUserPath is where a user's own configuration is, under their configuration directory (~/.config).
const CLIUserPath = "vireo/cli.toml"

// CLITOML is the annotated cli.toml: every key, with its default.
//
//go:embed cli.toml
var CLITOML []byte

// CLI is the configuration of the operator's program, vireo.
type CLI struct {
	Manager URLs     `toml:"manager"` // URL of the manager, or of its socket; or URLs of several
	CA      string   `toml:"ca"`      // the CA's certificate, PEM
	Cert    string   `toml:"cert"`    // the operator's certificate, PEM
	Key     string   `toml:"key"`     // and its key
	Timeout Duration `toml:"timeout"` // for the manager's answer to a plain request
}

// DefaultCLI gives the configuration that an empty file means.
func DefaultCLI() CLI {
	return CLI{
		Manager: URLs{"https://localhost:7443"},
		CA:      "/etc/vireo/pki/ca.crt",
		Cert:    "/etc/vireo/pki/operator.crt",
		Key:     "/etc/vireo/pki/operator.key",
		Timeout: Duration(10 * time.Second),
	}
}

// LoadCLI reads cli.toml over the defaults and validates the outcome.
func LoadCLI(path string) (CLI, error) {
	cfg := DefaultCLI()
	err := load(path, &cfg)
	return cfg, err
}

// Validate reports every value that cannot work, as joined *Error.
func (c CLI) Validate() error { return validate(&c) }

func (c *CLI) check(k *checks) {
	k.managerURLs("manager", c.Manager, true)
	k.path("ca", c.CA)
	k.path("cert", c.Cert)
	k.path("key", c.Key)
	between(k, "timeout", c.Timeout, Duration(100*time.Millisecond), Duration(time.Hour))
}
