package main

import (
	"strings"
	"unicode/utf8"
)

// cell is one place of a table.
type cell struct {
	text  string
	style style
}

// cells makes a row without styles.
func cells(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i].text = text
	}
	return row
}

// printTable prints aligned columns below their names. It prints nothing when
// there is nothing to list.
func (w *world) printTable(header []string, rows [][]cell) error {
	if len(rows) == 0 {
		return nil
	}
	head := cells(header...)
	for i := range head {
		head[i].style = bold
	}
	return w.printColumns(append([][]cell{head}, rows...))
}

// printColumns prints rows of cells, aligned. Every text is shown as a terminal
// may have it.
func (w *world) printColumns(rows [][]cell) error {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = shown(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	paint := w.paints(w.stdout)
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, c := range row {
			line += paint.paint(c.style, c.text)
			if i < len(row)-1 {
				line += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return w.printf("%s", b.String())
}
