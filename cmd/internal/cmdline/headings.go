package cmdline

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// categoryPart is what the library's templates say of a command's category in the
// help of the command itself, where it tells nobody anything.
const categoryPart = "{{if .Category}}\n\nCATEGORY:\n   {{.Category}}{{end}}"

// Under returns the commands, to be listed under a heading of the program's help.
// Headings appear in alphabetical order, commands in the order in which they
// are given.
func Under(heading string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		template := cli.CommandHelpTemplate
		if len(c.Subcommands) > 0 {
			template = cli.SubcommandHelpTemplate
		}
		c.Category = heading
		c.CustomHelpTemplate = strings.Replace(template, categoryPart, "", 1)
	}
	return commands
}
