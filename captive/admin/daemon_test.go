package admin_test

import (
	"passerelle/appliance/daemon"
	"passerelle/captive/admin"
)

func init() { admin.RealContent = daemon.ContentOf }
