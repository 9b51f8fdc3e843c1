package configs

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// checks collects what is wrong with one configuration.
type checks struct {
	file string
	errs []error
}

func (c *checks) fail(key string, value any, expected string) {
	c.errs = append(c.errs, &Error{File: c.file, Key: key, Value: written(value), Expected: "expected " + expected})
}

// written gives a value as TOML would write it.
func written(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "{…}"
	case []map[string]any:
		return "[{…}]"
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = written(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case fmt.Stringer:
		return strconv.Quote(v.String())
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(value)
}

func oneOf[T ~string](c *checks, key string, value T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if value == a {
			return
		}
		names[i] = strconv.Quote(string(a))
	}
	expected := names[len(names)-1]
	if len(names) > 1 {
		expected = strings.Join(names[:len(names)-1], ", ") + " or " + expected
	}
	c.fail(key, value, expected)
}

type number interface{ ~int | ~int64 | ~float64 }

// between is also false for a value that is not a number.
func between[T number](c *checks, key string, value, low, high T) {
	if !(value >= low && value <= high) {
		c.fail(key, value, fmt.Sprintf("a value from %v to %v", low, high))
	}
}

// path wants an absolute path, because a daemon's working directory is nobody's business.
func (c *checks) path(key, value string) {
	if !filepath.IsAbs(value) {
		c.fail(key, value, "an absolute path")
	}
}

// pathOrNone also allows the empty string.
func (c *checks) pathOrNone(key, value string) {
	if value != "" {
		c.path(key, value)
	}
}

// listen wants an address to listen on, such as ":7443" or "10.0.0.1:7443".
func (c *checks) listen(key, value string) {
	_, port, err := net.SplitHostPort(value)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
		c.fail(key, value, `an address and port such as ":7443" or "10.0.0.1:7443"`)
	}
}

// managerURL wants where a manager is reached: HTTPS, or for programs on its own machine its socket.
func (c *checks) managerURL(key, value string, socket bool) {
	expected := `a URL such as "https://manager.example:7443"`
	u, err := url.Parse(value)
	bare := err == nil && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	if bare && u.Scheme == "https" && u.Hostname() != "" && (u.Path == "" || u.Path == "/") {
		return
	}
	if socket {
		if bare && u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path) {
			return
		}
		expected += ` or "unix:///run/vireo-manager/manager.sock"`
	}
	c.fail(key, value, expected)
}

// managerURLs wants one or more of them.
func (c *checks) managerURLs(key string, values URLs, socket bool) {
	if len(values) == 0 {
		c.managerURL(key, "", socket)
	}
	for _, value := range values {
		c.managerURL(key, value, socket)
	}
}

// uri wants a scheme and something behind it.
func (c *checks) uri(key, value, expected string) {
	if !isURI(value) {
		c.fail(key, value, expected)
	}
}

// hostURI wants the same with {host}, where another host's name is put in.
func (c *checks) hostURI(key, value, expected string) {
	if !strings.Contains(value, "{host}") || !isURI(forHost(value, "host")) {
		c.fail(key, value, expected)
	}
}

func isURI(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Path != "")
}

// hostName wants one or more DNS labels: the name stands in certificates, URLs and file names.
func (c *checks) hostName(key, value string) {
	valid := len(value) <= 253
	for label := range strings.SplitSeq(value, ".") {
		valid = valid && len(label) > 0 && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-' &&
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
	}
	if !valid {
		c.fail(key, value, "a host name of letters, digits, hyphens and dots")
	}
}

// logs checks the [log] table that all daemons have.
func (c *checks) logs(l Log) {
	oneOf(c, "log.level", l.Level, "debug", "info", "warn", "error")
	oneOf(c, "log.format", l.Format, "text", "json")
}

// Log says how a daemon writes its log to stderr.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // text or json
}
