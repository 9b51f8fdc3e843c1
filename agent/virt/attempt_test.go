package virt_test

import (
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"
)

const attemptOld = `<vireo:attempt xmlns:vireo="https://vireo-kvm.github.io/ns/attempt/1" id="old"/>`

func TestDestXML(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no metadata",
			"<domain type='kvm' id='3'>\n  <name>g1</name>\n</domain>\n",
			"<domain type='kvm' id='3'>\n  <name>g1</name>\n<metadata>NEW</metadata></domain>\n"},
		{"empty metadata",
			"<domain><name>g1</name><metadata/><vcpu>1</vcpu></domain>",
			"<domain><name>g1</name><metadata>NEW</metadata><vcpu>1</vcpu></domain>"},
		{"somebody else's metadata",
			"<domain><metadata><x:y xmlns:x='urn:x'>&lt;z&gt;</x:y></metadata><name>g1</name></domain>",
			"<domain><metadata><x:y xmlns:x='urn:x'>&lt;z&gt;</x:y>NEW</metadata><name>g1</name></domain>"},
		{"an older attempt",
			"<domain><metadata>" + attemptOld + "<x:y xmlns:x='urn:x'/></metadata></domain>",
			"<domain><metadata><x:y xmlns:x='urn:x'/>NEW</metadata></domain>"},
		{"an older attempt under another prefix, with content",
			`<domain><metadata><a:attempt xmlns:a="https://vireo-kvm.github.io/ns/attempt/1" id="old"><b/></a:attempt></metadata></domain>`,
			"<domain><metadata>NEW</metadata></domain>"},
		{"two older attempts around something else",
			"<domain><metadata>" + attemptOld + "<k xmlns='urn:k'/>" + attemptOld + "</metadata><name>é</name></domain>",
			"<domain><metadata><k xmlns='urn:k'/>NEW</metadata><name>é</name></domain>"},
		{"metadata elsewhere is nobody's",
			"<domain><devices><metadata/></devices></domain>",
			"<domain><devices><metadata/></devices><metadata>NEW</metadata></domain>"},
		{"comments and declarations",
			"<?xml version='1.0'?><!-- <metadata> --><domain><!-- </domain> --><name>g</name></domain>",
			"<?xml version='1.0'?><!-- <metadata> --><domain><!-- </domain> --><name>g</name><metadata>NEW</metadata></domain>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			const element = `<vireo:attempt xmlns:vireo="https://vireo-kvm.github.io/ns/attempt/1" id="a&amp;1"/>`
			got, err := virt.DestXML(c.in, "a&1")
			if want := strings.ReplaceAll(c.want, "NEW", element); err != nil || got != want {
				t.Fatalf("got  %s, %v\nwant %s", got, err, want)
			}
			if id, err := virt.AttemptOf(got); id != "a&1" || err != nil {
				t.Errorf("AttemptOf = %q, %v", id, err)
			}
			if again, err := virt.DestXML(got, "a&1"); again != got || err != nil {
				t.Errorf("a second time: %s, %v", again, err)
			}
			clean, err := virt.WithoutAttempt(got)
			if err != nil || strings.Contains(clean, virt.AttemptNamespace) {
				t.Errorf("WithoutAttempt = %s, %v", clean, err)
			}
		})
	}
}

func TestDestXMLRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, attempt string }{
		{"no id", "<domain/>", ""},
		{"another document", "<network><name>n</name></network>", "a"},
		{"cut in half", "<domain><metadata><x:y xmlns:x='urn:x'>", "a"},
		{"nothing", "", "a"},
		{"two roots", "<domain><name/></domain><domain><name/></domain>", "a"},
		{"self-closed root", "<domain/>", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := virt.DestXML(c.in, c.attempt); err == nil {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestAttemptOf(t *testing.T) {
	two := "<domain><metadata>" + attemptOld + strings.Replace(attemptOld, "old", "new", 1) + "</metadata></domain>"
	if id, err := virt.AttemptOf(two); err == nil {
		t.Errorf("of two attempts it chose %q", id)
	}
	for _, none := range []string{
		"<domain/>",
		"<domain><metadata/></domain>",
		"<domain><metadata><attempt id='x'/></metadata></domain>",                                                      // no namespace
		"<domain><metadata><a xmlns='urn:a'>" + attemptOld + "</a></metadata></domain>",                                // not ours: inside another's
		"<domain><description>" + strings.ReplaceAll(attemptOld, "<", "&lt;") + "</description></domain>",              // text
		"<domain><metadata><v:attempt xmlns:v='https://vireo-kvm.github.io/ns/attempt/2' id='x'/></metadata></domain>", // another version
	} {
		if id, err := virt.AttemptOf(none); id != "" || err != nil {
			t.Errorf("AttemptOf(%s) = %q, %v; want none", none, id, err)
		}
	}
}

func FuzzDestXML(f *testing.F) {
	f.Add("<domain><metadata/></domain>", "a")
	f.Add("<domain><metadata>"+attemptOld+"</metadata></domain>", "a\"<>")
	f.Add("<domain id='1'><name>x</name></domain>", "b")
	f.Fuzz(func(t *testing.T, doc, attempt string) {
		got, err := virt.DestXML(doc, attempt)
		if err != nil {
			return
		}
		id, err := virt.AttemptOf(got)
		if err != nil {
			t.Fatalf("what DestXML made can't be read: %v\n%s", err, got)
		}
		if printable(attempt) && id != attempt {
			t.Fatalf("attempt %q came back as %q in %s", attempt, id, got)
		}
	})
}

// printable says that XML can carry the text as it is: ids are.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}
