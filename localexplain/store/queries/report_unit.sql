SELECT * FROM units WHERE unit = $unit;
