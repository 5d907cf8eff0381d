// Package gatetest is what tests of gates share: a way to run a gate inside a host of netlab.
package gatetest
