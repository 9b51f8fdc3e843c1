package pfa

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

func TestModelFileSurvivesARoundTrip(t *testing.T) {
	m := defaultModel(t)
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, defaultFile) {
		t.Error("the shipped file is not what its model writes")
	}
}

func TestModelCardIsOfTheShippedModel(t *testing.T) {
	card, err := os.ReadFile("MODELCARD.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(card) != defaultModel(t).Card() {
		t.Error("MODELCARD.md is not the shipped model's; run make model")
	}
}

// reseal gives a changed file a right checksum, so that what lies behind it is
// tested.
func reseal(content []byte) []byte {
	return fmt.Appendf(bytes.Clone(content), trailerFormat, sha256.Sum256(content))
}

// edit changes the header of the shipped model and seals it again.
func edit(t *testing.T, from, to string) []byte {
	t.Helper()
	line, rest, _ := bytes.Cut(defaultFile, []byte("\n"))
	var version, head, body int
	if _, err := fmt.Sscanf(string(line), "vireo-pfa %d %d %d", &version, &head, &body); err != nil {
		t.Fatal(err)
	}
	header := bytes.Replace(rest[:head], []byte(from), []byte(to), 1)
	if bytes.Equal(header, rest[:head]) {
		t.Fatalf("no %q in the header", from)
	}
	out := fmt.Appendf(nil, "vireo-pfa %d %d %d\n", version, len(header), body)
	return reseal(append(append(out, header...), rest[head:head+body]...))
}

func TestLoadRefuses(t *testing.T) {
	damaged := bytes.Clone(defaultFile)
	damaged[len(damaged)/2] ^= 1
	nan := bytes.Clone(defaultFile[:len(defaultFile)-trailerLength])
	binary.LittleEndian.PutUint64(nan[bytes.LastIndex(nan, []byte("\n}\n"))+3:], math.Float64bits(math.NaN()))
	weight := bytes.Clone(defaultFile[:len(defaultFile)-trailerLength])
	n := len(defaultModel(t).ata.month)
	first := bytes.LastIndex(weight, []byte("\n}\n")) + 3 // the payload begins
	binary.LittleEndian.PutUint64(weight[first+8*(n-1):], math.Float64bits(3))
	trees := first + 8*3*n
	loop := bytes.Clone(defaultFile[:len(defaultFile)-trailerLength])
	binary.LittleEndian.PutUint32(loop[trees+4+4:], 0) // the root's left child is the root
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not a vireo model file"},
		{"something else", []byte("PK\x03\x04 and so on\n"), "not a vireo model file"},
		{"cut short", defaultFile[:len(defaultFile)-100], "do not add up"},
		{"too long", append(bytes.Clone(defaultFile), '\n'), "do not add up"},
		{"one bit", damaged, "checksum"},
		{"another version", append([]byte("vireo-pfa 1 10 8\n"), defaultFile...), "version 1"},
		{"negative length", []byte("vireo-pfa 2 -5 8\n"), "do not add up"},
		{"not a number", reseal(nan), "a weight is NaN"},
		{"another weight", reseal(weight), "golden row"},
		{"a tree that is none", reseal(loop), "tree 1: is damaged"},
		{"a tree less", edit(t, `"trees": 150`, `"trees": 149`), "after the last tree"},
		{"a tree more", edit(t, `"trees": 150`, `"trees": 151`), "tree 151"},
		{"unknown key", edit(t, `"name"`, `"nome"`), "unknown field"},
		{"unknown kind", edit(t, `"log-linear and boosted trees"`, `"oracle"`), `kind "oracle"`},
		{"other features", edit(t, `"schema_hash": "`, `"schema_hash": "0`), "other features"},
		{"a grade of its own", edit(t, `"grade": "C"`, `"grade": "S"`), "grade"},
		{"falling calibration", edit(t, `"slope": `, `"slope": -`), "does not rise"},
		{"an interval without an end", edit(t, `"upto": [`, `"upto": [-1e3,`), "does not rise"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := Load(test.file)
			if err == nil || m != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("vireo-pfa 2 2 0\n{}"))
	f.Add(reseal([]byte("vireo-pfa 2 3 8\n{}\n12345678")))
	f.Add(reseal([]byte("vireo-pfa 2 61 0\n{\"kind\":\"log-linear and boosted trees\",\"grade\":\"A\",\"calibration\":{\"slope\":1}}  ")))
	f.Add(defaultFile[:4000])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, file := range [][]byte{b, reseal(b)} {
			if m, err := Load(file); (m == nil) == (err == nil) {
				t.Errorf("model %v, error %v", m != nil, err)
			}
		}
	})
}
