"""Neural collision models of bodies: COAP and VolumetricSMPL."""
