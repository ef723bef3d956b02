package main

import (
	"fmt"
	"strings"
	"time"
)

// units are what people count time in, largest first.
var units = [...]struct {
	name string
	size time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// span writes a length of time in its two largest units: "3d 4h", "12m", "0s".
func span(d time.Duration) string {
	d = max(d, 0)
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) {
			if n := d % u.size / units[i+1].size; n > 0 {
				text += fmt.Sprintf(" %d%s", n, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}

// seconds is a length of time as JSON has it.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// barWidth is how many characters a bar has between its brackets.
const barWidth = 10

// bar draws how much of a limit is used. It is full only when all of it is.
func bar(part, whole time.Duration) string {
	n := barWidth
	if part < whole {
		n = int(float64(part) / float64(whole) * barWidth)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}
