package virt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
)

// AttemptNamespace is the XML namespace of the element that carries an
// attempt's id in a domain's metadata: <attempt xmlns="…" id="…"/>.
const AttemptNamespace = "https://vireo-kvm.github.io/ns/attempt/1"

// attemptPrefix is used when we write it; readers go by the namespace.
const attemptPrefix = "vireo"

// DestXML returns the live XML for the target of a move: migratableXML (the
// source's, with XMLFlags.Migratable) plus the attempt's id in its metadata.
// An id that is already there, of the move that brought the guest to the
// source, is replaced. Everything else stays byte for byte: libvirt compares
// the two documents' ABI.
func DestXML(migratableXML, attempt string) (string, error) {
	if attempt == "" {
		return "", errors.New("attempt id is empty")
	}
	clean, at, err := stripAttempt(migratableXML)
	if err != nil {
		return "", err
	}
	element := fmt.Sprintf(`<%s:attempt xmlns:%s="%s" id="%s"/>`,
		attemptPrefix, attemptPrefix, AttemptNamespace, escapeAttr(attempt))
	switch {
	case at.insideMetadata > 0:
		return clean[:at.insideMetadata] + element + clean[at.insideMetadata:], nil
	case at.emptyMetadata[1] > 0:
		return clean[:at.emptyMetadata[0]] + "<metadata>" + element + "</metadata>" + clean[at.emptyMetadata[1]:], nil
	default:
		return clean[:at.domainEnd] + "<metadata>" + element + "</metadata>" + clean[at.domainEnd:], nil
	}
}

// WithoutAttempt returns the document without any attempt id: what a
// definition must look like when a move is over.
func WithoutAttempt(domainXML string) (string, error) {
	clean, _, err := stripAttempt(domainXML)
	return clean, err
}

// AttemptOf returns the attempt id in a domain's XML, live or definition; ""
// when there is none. Two are an error: nobody may choose between them.
func AttemptOf(domainXML string) (string, error) {
	var ids []string
	err := walk(domainXML, func(path []xml.Name, start *xml.StartElement, _, _ int64) {
		if start == nil || !isAttempt(path) {
			return
		}
		for _, a := range start.Attr {
			if a.Name.Local == "id" {
				ids = append(ids, a.Value)
			}
		}
	})
	switch {
	case err != nil:
		return "", err
	case len(ids) > 1:
		return "", fmt.Errorf("domain XML carries %d attempt ids: %s", len(ids), strings.Join(ids, ", "))
	case len(ids) == 1:
		return ids[0], nil
	}
	return "", nil
}

// places are the offsets at which DestXML may write.
type places struct {
	insideMetadata int    // before </metadata>; 0: there is none with content
	emptyMetadata  [2]int // the extent of <metadata/>; zero: there is none
	domainEnd      int    // before </domain>
}

// stripAttempt cuts every attempt element out and says where one may go.
func stripAttempt(doc string) (clean string, at places, err error) {
	type span struct{ from, to int }
	var cuts []span
	var open int64 = -1
	var metadataStart int64
	err = walk(doc, func(path []xml.Name, start *xml.StartElement, from, to int64) {
		switch {
		case isAttempt(path) && start != nil:
			open = from
		case isAttempt(path):
			cuts = append(cuts, span{int(open), int(to)})
		case len(path) == 2 && path[1].Local == "metadata" && start != nil:
			metadataStart = from
		case len(path) == 2 && path[1].Local == "metadata":
			if from == to { // the end of <metadata/> has no text of its own
				at.emptyMetadata = [2]int{int(metadataStart), int(to)}
			} else {
				at.insideMetadata = int(from)
			}
		case len(path) == 1 && start == nil && from < to:
			at.domainEnd = int(from)
		}
	})
	if err != nil {
		return "", places{}, err
	}
	if at.domainEnd == 0 {
		return "", places{}, errors.New("domain XML: no <domain> with anything in it")
	}
	sort.Slice(cuts, func(i, j int) bool { return cuts[i].from > cuts[j].from })
	clean = doc
	for _, c := range cuts { // from the back, so that earlier offsets hold
		clean = clean[:c.from] + clean[c.to:]
		for _, p := range []*int{&at.insideMetadata, &at.emptyMetadata[0], &at.emptyMetadata[1], &at.domainEnd} {
			if *p >= c.to {
				*p -= c.to - c.from
			}
		}
	}
	return clean, at, nil
}

func isAttempt(path []xml.Name) bool {
	return len(path) == 3 && path[1].Local == "metadata" &&
		path[2].Space == AttemptNamespace && path[2].Local == "attempt"
}

// walk calls visit for each start and end tag under a <domain> root with the
// element's path, root first, and the tag's extent in doc. start is nil for an
// end tag; the path still holds the element that ends.
func walk(doc string, visit func(path []xml.Name, start *xml.StartElement, from, to int64)) error {
	dec := xml.NewDecoder(strings.NewReader(doc))
	var path []xml.Name
	roots := 0
	for {
		from := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("domain XML: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(path) == 0 {
				if roots++; roots > 1 || t.Name.Local != "domain" {
					return fmt.Errorf("domain XML: root element %d is <%s>", roots, t.Name.Local)
				}
			}
			path = append(path, t.Name)
			visit(path, &t, from, dec.InputOffset())
		case xml.EndElement:
			visit(path, nil, from, dec.InputOffset())
			path = path[:len(path)-1]
		}
	}
}

func escapeAttr(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder never fails
	return b.String()
}
