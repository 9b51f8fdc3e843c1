package cmdline

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// Group is the action of a command that only has subcommands: help when there is
// nothing more, else a refusal that names what there is, made an error by usage.
func Group(commands []*cli.Command, help func(*cli.Context) error, usage func(text string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if !c.Args().Present() {
			return help(c)
		}
		return usage(fmt.Sprintf("no command %q; there are %s", c.Args().First(), Names(commands)))
	}
}

// Names are the commands that are not hidden, in words.
func Names(commands []*cli.Command) string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return List(names)
}

// List joins words as a sentence does.
func List(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
