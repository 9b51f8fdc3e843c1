package lab

// Exports are the settings of a shell whose vireo talks to this lab, as NAME=VALUE.
func (l *Lab) Exports() []string {
	return []string{"PATH=" + l.Options.Bin + ":$PATH", "VIREO_CONFIG=" + OperatorConfig()}
}
