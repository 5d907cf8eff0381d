package uplink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Change says what kinds of things changed in the kernel.
type Change uint8

// The kinds of things that Watch tells of.
const (
	Links    Change = 1 << iota // interfaces and IPv4 addresses
	Routes                      // IPv4 routes, of any table
	Rules                       // IPv4 routing rules
	Shaping                     // queueing disciplines, classes and filters
	Firewall                    // nf_tables: tables, chains, rules, sets, and so iptables-nft's as well
)

// Everything is said when notifications may have been missed.
const Everything = Links | Routes | Rules | Shaping | Firewall

func (c Change) String() string {
	var words []string
	for i, word := range []string{"links", "routes", "rules", "shaping", "firewall"} {
		if c&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, "+")
}

// retry is how long to wait before subscribing again after an error that isn't understood.
const retry = time.Second

// subscription is a netlink protocol's groups and what their messages mean.
type subscription struct {
	protocol int
	groups   []uint
	covers   Change // what may have changed when messages were lost
	classify func(kind uint16) Change
}

var subscriptions = []subscription{
	{
		protocol: unix.NETLINK_ROUTE,
		groups: []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
			unix.RTNLGRP_TC},
		covers:   Links | Routes | Rules | Shaping,
		classify: classifyRoute,
	},
	{
		protocol: unix.NETLINK_NETFILTER,
		groups:   []uint{unix.NFNLGRP_NFTABLES},
		covers:   Firewall,
		classify: classifyNetfilter,
	},
}

func classifyRoute(kind uint16) Change {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Links
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return Routes
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return Rules
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTCLASS, unix.RTM_DELTCLASS, unix.RTM_NEWTFILTER,
		unix.RTM_DELTFILTER:
		return Shaping
	}
	return 0
}

// classifyNetfilter knows the subsystem by the upper byte (include/uapi/linux/netfilter/nfnetlink.h).
func classifyNetfilter(kind uint16) Change {
	if kind>>8 == unix.NFNL_SUBSYS_NFTABLES {
		return Firewall
	}
	return 0
}

// Watch calls wake whenever something changes, with all that changed since the last call, until ctx ends; then it returns
// nil. The first calls come at once, as soon as nothing can be missed any more, and together say Everything. Changes are
// told whoever makes them, but for those made through a route socket whose netlink port is in own.
//
// Wake is called from two goroutines and should return soon: what it holds up waits in the kernel, and what doesn't fit
// there is told as everything of its kind. Only a subscription that isn't allowed, or that the kernel hasn't got, is an
// error.
func (r *Reader) Watch(ctx context.Context, wake func(Change), own ...uint32) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, sub := range subscriptions {
		g.Go(func() error { return r.watch(ctx, sub, wake, own) })
	}
	return g.Wait()
}

// watch keeps one subscription alive.
func (r *Reader) watch(ctx context.Context, sub subscription, wake func(Change), own []uint32) error {
	for {
		socket, err := nl.SubscribeAt(r.ns, netns.None(), sub.protocol, sub.groups...)
		if err == nil && sub.protocol == unix.NETLINK_ROUTE {
			if err = ignore(socket.GetFd(), own); err != nil {
				socket.Close()
			}
		}
		if err == nil {
			wake(sub.covers)
			err = follow(ctx, socket, sub, wake)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			continue // messages were lost, but the kernel is well
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EPROTONOSUPPORT):
			return fmt.Errorf("subscribe to netlink protocol %d: %w", sub.protocol, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// ignore has the kernel drop messages about what was done through these ports, which stand in nlmsg_pid, before they cost
// anything (Documentation/networking/filter.rst).
func ignore(socket int, ports []uint32) error {
	if len(ports) == 0 {
		return nil
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12}}
	for i, port := range ports {
		filter = append(filter, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			K:    binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port)), // as the filter loads it
			Jt:   uint8(len(ports) - i),                                                // to the last instruction
		})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32}, // all of it
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("filter netlink messages: %w", err)
	}
	return nil
}

// follow reads messages until something goes wrong or ctx ends, and closes the socket.
func follow(ctx context.Context, socket *nl.NetlinkSocket, sub subscription, wake func(Change)) error {
	closing := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if closing() {
			socket.Close()
		}
	}()
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return err
		}
		if from.Pid != 0 {
			continue // not the kernel
		}
		if change := classify(messages, sub.classify); change != 0 {
			wake(change)
		}
	}
}

func classify(messages []syscall.NetlinkMessage, kind func(uint16) Change) (change Change) {
	for _, m := range messages {
		change |= kind(m.Header.Type)
	}
	return change
}
