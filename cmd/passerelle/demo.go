package main

import (
	"context"
	"flag"
	"os"
	"os/exec"

	"passerelle/cmd/passerelle/demo"
)

// playDemo runs the demo on this machine.
func playDemo(ctx context.Context, c *cli, args []string) error {
	o := demo.Options{Program: thisProgram, Online: residents, In: os.Stdin}
	if _, err := c.flags("demo", args, 0, func(f *flag.FlagSet) {
		f.BoolVar(&o.Once, "once", false, "end after the story, with exit status 0 if every step passed")
		f.StringVar(&o.Listen, "listen", "",
			"`ADDRESS` of the residents' page for this machine's browser, such as 127.0.0.1:8080; "+
				"with it the demo stays open also without a terminal")
	}); err != nil {
		return err
	}
	return demo.Run(ctx, c.out, o)
}

// thisProgram runs the running program again, even if its file was moved.
func thisProgram(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	return cmd
}
