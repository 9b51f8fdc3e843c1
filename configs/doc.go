// Package configs holds the configuration of vireo's programs: the types, their defaults, and the rules that a value must
// keep. The annotated files manager.toml, agent.toml and cli.toml beside it list every key with its default; they are
// what make install puts into /etc/vireo, and a test holds them equal to the defaults here.
//
// Reading is strict. A key that does not exist, a value of the wrong type and a value that cannot work are errors which
// name file, key, value and what was expected; all of a file's errors are reported at once. A key that is left out keeps
// its default. Durations are written "10s", sizes "128MiB", bandwidths "1Gbit/s".
//
// The package knows nothing of what its values do: it neither opens the directories it names nor resolves the hosts.
package configs
