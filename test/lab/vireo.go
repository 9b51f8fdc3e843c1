package lab

import "path/filepath"

// Exports are the settings of a shell whose vireo talks to this lab, as NAME=VALUE.
func (l *Lab) Exports() []string {
	return []string{"PATH=" + l.Options.Bin + ":$PATH"}
}

// cliConfig is the configuration of vireo for whoever operates the lab.
func cliConfig() string { return filepath.Join(Dir, "cli.toml") }
