package main

import (
	"errors"
	"net"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/test/heartbeat/receiver"
	"github.com/vireo-kvm/vireo/test/lab"
	"github.com/vireo-kvm/vireo/test/lab/hostinit"
)

// hostInitCommand is the first process of a machine of the lab.
func hostInitCommand() *cli.Command {
	return &cli.Command{
		Name: hostinit.Command, Hidden: true,
		Action: func(c *cli.Context) error { return hostinit.Main(c.Context, c.Args().First()) },
	}
}

// receiverCommand receives the guests' beats on the lab's switch.
func receiverCommand() *cli.Command {
	return &cli.Command{
		Name: lab.ReceiverCommand, Hidden: true,
		Action: func(c *cli.Context) error {
			if err := os.Remove(lab.HeartbeatSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			l, err := net.Listen("unix", lab.HeartbeatSocket)
			if err != nil {
				return err
			}
			r, err := receiver.New(lab.SwitchName)
			if err != nil {
				return err
			}
			return r.Run(c.Context, l)
		},
	}
}
