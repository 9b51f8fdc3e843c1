package decide

import (
	"encoding/xml"
	"slices"
)

// cpu is what libvirt's cpu elements have in common, the host's and the domain's.
type cpu struct {
	Mode    string `xml:"mode,attr"`
	Match   string `xml:"match,attr"`
	Arch    string `xml:"arch"`
	Model   string `xml:"model"`
	Vendor  string `xml:"vendor"`
	Feature []struct {
		Name   string `xml:"name,attr"`
		Policy string `xml:"policy,attr"`
	} `xml:"feature"`
}

// cpuMismatch says why a host's processor cannot run the domain, as far as it
// can be told from afar. Only host-passthrough can: it needs the same processor.
// A custom model is libvirt's to compare on the target, before anything starts,
// because only libvirt knows what a model's name means there (under emulation
// every model fits every host).
func cpuMismatch(domainXML, sourceXML, targetXML string) string {
	if domainXML == "" {
		return ""
	}
	var d, a, b cpu
	if xml.Unmarshal([]byte(domainXML), &d) != nil {
		return "its cpu element cannot be read"
	}
	if d.Mode != "host-passthrough" || sourceXML == "" {
		return ""
	}
	if xml.Unmarshal([]byte(sourceXML), &a) != nil || xml.Unmarshal([]byte(targetXML), &b) != nil {
		return "host-passthrough, and its processor is not known"
	}
	if a.Model != b.Model || a.Vendor != b.Vendor {
		return "host-passthrough, and its processor is " + b.Model + ", not " + a.Model
	}
	for _, f := range a.Feature {
		if !slices.Contains(b.Feature, f) {
			return "host-passthrough, and its processor lacks " + f.Name
		}
	}
	return ""
}
