package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// OperatorConfig is the configuration of vireo for whoever operates the lab.
func OperatorConfig() string { return filepath.Join(Dir, "cli.toml") }

// Vireo runs the operator's command against this lab, from outside its
// machines, and returns what it prints. The error says how it ended and what it
// printed on standard error; it wraps *exec.ExitError.
func (l *Lab) Vireo(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.Options.Bin, "vireo"), args...)
	cmd.Env = append(os.Environ(), "VIREO_CONFIG="+OperatorConfig())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("vireo %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Ask runs a read of the operator's command with --json and decodes what it prints.
func (l *Lab) Ask(ctx context.Context, into proto.Message, args ...string) error {
	out, err := l.Vireo(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("what vireo %s printed: %w", strings.Join(args, " "), err)
	}
	return nil
}
