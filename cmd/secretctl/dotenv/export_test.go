package dotenv

// ReadDocker returns what docker's reader reads of a file.
func ReadDocker(b []byte) (values map[string]string, refused int) {
	all, refused := readDocker(b)
	return last(b, all), refused
}

// Readings returns what each of our readers reads of a file, the last value of
// each key: nil where it refuses it. open are the keys whose value it does not
// claim to know.
func Readings(b []byte) (all map[Dialect]map[string]string, open map[Dialect]map[string]bool) {
	all, open = map[Dialect]map[string]string{}, map[Dialect]map[string]bool{}
	var own []assignment
	for _, s := range motdotla(b) {
		own = append(own, s.assignment)
	}
	all[Motdotla] = last(b, own)
	for _, d := range others {
		found, refused := d.read(b)
		if refused >= 0 {
			continue
		}
		all[d.name], open[d.name] = last(b, found), map[string]bool{}
		for _, a := range found {
			open[d.name][string(a.key.of(b))] = a.open
		}
	}
	return all, open
}

func last(b []byte, found []assignment) map[string]string {
	values := map[string]string{}
	for _, a := range found {
		values[string(a.key.of(b))] = string(a.value)
	}
	return values
}
