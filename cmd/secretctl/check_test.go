package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/grant"
)

func TestDecisionsInWords(t *testing.T) {
	for _, c := range []struct {
		check broker.Check
		words string
	}{
		{broker.Check{Allow: true, Exists: true, Line: 7, TTLSeconds: 900}, "claw gets key by the value door, leased for at most 15m: the grant at secretctl.toml:7"},
		{broker.Check{Allow: true, Line: 7, TTLSeconds: 60}, "claw gets key by the value door, leased for at most 1m: the grant at secretctl.toml:7; but there is no such secret yet"},
		{broker.Check{Reason: "no_grant"}, "claw does not get key by the value door: no grant names it"},
		{broker.Check{Reason: "denied_by_rule", Line: 7}, "claw does not get key by the value door: the grant at secretctl.toml:7 denies it"},
		{broker.Check{Reason: "hours", Line: 7}, "claw does not get key by the value door: the grant at secretctl.toml:7 does not give it at this hour"},
		{broker.Check{Reason: "max_leases", Line: 7}, "claw does not get key by the value door: as many leases as the grant at secretctl.toml:7 allows are held"},
		{broker.Check{Reason: "of_tomorrow"}, "claw does not get key by the value door: of_tomorrow"},
	} {
		c.check.Agent, c.check.Secret, c.check.Door = "claw", "key", "value"
		require.Equal(t, c.words, decision(&c.check))
	}
	for _, code := range []grant.Code{
		grant.CodeOwnSecret, grant.CodeDenied, grant.CodeNoGrant, grant.CodeDoor, grant.CodeHours, grant.CodeWeekday,
		grant.CodeMaxLeases, grant.CodeLeasesPerHour,
	} {
		require.NotEqual(t, string(code), denial(&broker.Check{Reason: string(code)}), "a denial without words")
	}
}
