package daemon

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"
)

// Config reads a configuration with one of configs' Load functions. Whatever is
// wrong with it, a missing file included, is ExitUsage.
func Config[T any](c *cli.Context, load func(path string) (T, error)) (T, error) {
	cfg, err := load(c.String("config"))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; make one with: %s config default >%s", err, c.App.Name, c.String("config"))
	}
	if err != nil {
		err = &Exit{ExitUsage, err}
	}
	return cfg, err
}

// ConfigCommand is the command config: check reads the file that flag names,
// default prints the annotated one.
func ConfigCommand[T any](flag cli.Flag, load func(path string) (T, error), annotated []byte) *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "check the configuration, or print the default one",
		Subcommands: []*cli.Command{{
			Name:  "check",
			Usage: "read the configuration and name what is wrong in it (exit 2)",
			Flags: []cli.Flag{flag},
			Action: func(c *cli.Context) error {
				if _, err := Config(c, load); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.App.Writer, "%s: good\n", c.String("config"))
				return err
			},
		}, {
			Name:  "default",
			Usage: "print the annotated configuration with every key's default",
			Action: func(c *cli.Context) error {
				_, err := c.App.Writer.Write(annotated)
				return err
			},
		}},
	}
}
