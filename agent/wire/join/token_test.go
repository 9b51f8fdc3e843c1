package join

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTokenSurvivesItsText(t *testing.T) {
	made := New(sha256.Sum256([]byte("ca")))
	read, err := Parse("  " + made.Text() + "\n")
	if err != nil || read != made {
		t.Fatalf("Parse(Text()) = %v, %v; want %v", read, err, made)
	}
	if !bytes.Equal(read.SecretHash(), made.SecretHash()) {
		t.Error("a token does not match its own hash")
	}
	other := New(made.CA)
	if other.ID == made.ID || bytes.Equal(other.SecretHash(), made.SecretHash()) {
		t.Error("two tokens are the same")
	}
}

func TestTokenDoesNotPrintItsSecret(t *testing.T) {
	made := New(sha256.Sum256(nil))
	secret := strings.Split(made.Text(), ".")[2]
	for _, shown := range []string{fmt.Sprint(made), fmt.Sprintf("%v %+v %s", made, made, made)} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q shows the secret", shown)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := New(sha256.Sum256(nil)).Text()
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty":         "",
		"word":          "hello",
		"other version": "vj2" + good[3:],
		"cut":           good[:len(good)-1],
		"longer":        good + "A",
		"part missing":  strings.Join(parts[:3], "."),
		"part more":     good + ".x",
		"no base64":     strings.Replace(good, parts[2], strings.Repeat("!", len(parts[2])), 1),
		"short id":      strings.Join([]string{parts[0], parts[1][:8], parts[2], parts[3]}, "."),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(text); !errors.Is(err, ErrMalformed) {
				t.Errorf("Parse = %v, want ErrMalformed", err)
			} else if len(text) > 20 && strings.Contains(err.Error(), parts[2]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}
