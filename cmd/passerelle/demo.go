package main

import (
	"context"
	"errors"
)

func demo(context.Context, *cli, []string) error { return errors.New("being built") }
