package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "print what the services of a machine, or of all, have said", UsageText: "vireo-lab logs [--follow] [--lines N] [MACHINE [SERVICE]]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on as they say more"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 20, Usage: "`N` last lines of each"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 2 {
				return usage("expected: vireo-lab logs [--follow] [--lines N] [MACHINE [SERVICE]]")
			}
			l, err := open()
			if err != nil {
				return err
			}
			files, err := l.LogFiles(c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			args := []string{"--lines=" + strconv.Itoa(c.Int("lines"))}
			if c.Bool("follow") {
				args = append(args, "--follow=name")
			}
			cmd := exec.CommandContext(c.Context, "tail", append(append(args, "--verbose", "--"), files...)...)
			cmd.Dir = filepath.Dir(files[0])
			cmd.Stdout, cmd.Stderr = c.App.Writer, os.Stderr
			if err := cmd.Run(); err != nil && c.Context.Err() == nil {
				return err
			}
			return nil
		},
	}
}
