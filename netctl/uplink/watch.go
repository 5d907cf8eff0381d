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

// Change is a set of kinds of kernel objects that changed.
type Change uint8

// The kinds that Watch reports.
const (
	Links    Change = 1 << iota // interfaces and IPv4 addresses
	Routes                      // IPv4 routes, of any table
	Rules                       // IPv4 routing rules
	Shaping                     // queueing disciplines, classes and filters
	Firewall                    // nf_tables: tables, chains, rules, sets, also those of iptables-nft
)

// Everything is reported when notifications may have been lost.
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

// retry is how long to wait before subscribing again after an unexpected error.
const retry = time.Second

// subscription describes multicast groups of a netlink protocol and the meaning of their messages.
type subscription struct {
	protocol int
	groups   []uint
	covers   Change // what to report when messages were lost
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

// classifyNetfilter reads the subsystem from the upper byte (include/uapi/linux/netfilter/nfnetlink.h).
func classifyNetfilter(kind uint16) Change {
	if kind>>8 == unix.NFNL_SUBSYS_NFTABLES {
		return Firewall
	}
	return 0
}

// Watch calls wake at each change, with all kinds that changed since the last call, until ctx ends; then it returns nil. The
// first calls come as soon as the subscriptions exist, and together report Everything. It reports changes by any program,
// except those made through a route socket whose netlink port is in own.
//
// It also refreshes the resolvers from their files, and reports a change of them as Links.
//
// Wake is called from three goroutines and should return soon: meanwhile messages wait in the socket's buffer. If the buffer
// overflows, Watch reports all kinds that the subscription covers. Watch fails only if a subscription is not permitted or not
// supported.
func (r *Reader) Watch(ctx context.Context, wake func(Change), own ...uint32) error {
	g, ctx := errgroup.WithContext(ctx)
	r.dns.begin()
	defer r.dns.end()
	report := func(what Change) {
		if what&(Links|Routes) != 0 {
			r.dns.refreshSoon()
		}
		wake(what)
	}
	for _, sub := range subscriptions {
		g.Go(func() error { return r.watch(ctx, sub, report, own) })
	}
	g.Go(func() error { r.dns.follow(ctx, r.root, func() { wake(Links) }); return nil })
	return g.Wait()
}

// watch maintains one subscription.
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
			continue // messages were lost
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

// ignore attaches a socket filter (Documentation/networking/filter.rst). It drops messages about changes that were made through
// these netlink ports (nlmsg_pid).
func ignore(socket int, ports []uint32) error {
	if len(ports) == 0 {
		return nil
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12}}
	for i, port := range ports {
		filter = append(filter, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			K:    binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port)), // as the filter loads it
			Jt:   uint8(len(ports) - i),                                                // jumps to the last instruction
		})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32}, // accept the whole message
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("filter netlink messages: %w", err)
	}
	return nil
}

// follow reads messages until an error or the end of ctx, and closes the socket.
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
			continue // not from the kernel
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
