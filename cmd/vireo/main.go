package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
)

func main() {
	app := &cli.App{Name: "vireo", Usage: "keep KVM guests ahead of hardware failure", Commands: []*cli.Command{pfaCommand()},
		ExitErrHandler: func(*cli.Context, error) {}}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "vireo:", err)
		code := 1
		var coder cli.ExitCoder
		if errors.As(err, &coder) {
			code = coder.ExitCode()
		}
		os.Exit(code)
	}
}
