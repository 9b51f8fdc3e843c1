package cmdline

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// FlagsFirst moves flags before arguments, because the library stops looking for
// flags at the first argument, and people write `vireo evacuate h1 --dry-run`.
// args are without the name of the program.
func FlagsFirst(app *cli.App, args []string) []string {
	commands, flags := app.Commands, app.Flags
	var out []string
	for len(args) > 0 { // the commands' names, with flags of groups between them
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[0]) })
		if i < 0 {
			break
		}
		out, args = append(out, args[0]), args[1:]
		if commands[i].SkipFlagParsing {
			return append(out, args...)
		}
		commands, flags = commands[i].Subcommands, commands[i].Flags
	}
	var options, arguments []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			arguments = append(append(arguments, "--"), args...)
			args = nil
		case len(arg) > 1 && arg[0] == '-':
			options = append(options, arg)
			if takesValue(flags, arg) && len(args) > 0 {
				options, args = append(options, args[0]), args[1:]
			}
		default:
			arguments = append(arguments, arg)
		}
	}
	if i := slices.Index(arguments, "--"); i > 0 { // all before it are arguments as well
		arguments = append([]string{"--"}, slices.Delete(arguments, i, i+1)...)
	}
	return append(append(out, options...), arguments...)
}

// takesValue says whether the flag's value is the next argument.
func takesValue(flags []cli.Flag, arg string) bool {
	for _, f := range flags {
		for _, name := range f.Names() {
			if arg == "-"+name || arg == "--"+name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false // unknown, or with its value behind a =
}

// Needed returns the names of the required flags, which from now on are not the
// library's to check: it would print the whole help for a forgotten one.
func Needed(flags []cli.Flag) (names []string) {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			if f.Required {
				f.Required, names = false, append(names, f.Name)
			}
		case *cli.PathFlag:
			if f.Required {
				f.Required, names = false, append(names, f.Name)
			}
		}
	}
	return names
}
