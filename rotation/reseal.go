package rotation

import (
	"encoding/json"
	"fmt"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

// Reseal replaces what is sealed in the journal by what seal makes of it, all at
// once. No engine may run on it.
func Reseal(db durable.DB, seal func(sealed []byte) ([]byte, error)) error {
	flights, err := (&journal{db: db}).flights()
	if err != nil {
		return err
	}
	changed := make(map[secret.Name][]byte)
	for _, r := range flights {
		if len(r.Sealed) == 0 {
			continue
		}
		if r.Sealed, err = seal(r.Sealed); err != nil {
			return fmt.Errorf("the new value of %q: %w", r.Secret, err)
		}
		if changed[r.Secret], err = json.Marshal(r); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return db.Update(func(tx durable.Tx) error {
		for name, entry := range changed {
			if err := tx.Put(bucketFlights, []byte(name), entry); err != nil {
				return err
			}
		}
		return nil
	})
}
