/* Which columns of a Dynamics 365 record are read, for whoever has to know that without reading any.
 *
 * Facts only, no code: the mapper checks its rules against them and links nothing of the systems. A dot: an attribute of
 * the record a lookup points to. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_COLUMNS_H
#define TANDEM_SYSTEMS_DYNAMICS365_COLUMNS_H

/* The setting dynamics_365.columns where the configuration does not say otherwise. */
#define DYNAMICS_365_COLUMNS_DEFAULT                                                                         \
    "[name, description, estimatedvalue, estimatedclosedate, isrevenuesystemcalculated, "                    \
    "transactioncurrencyid.isocurrencycode, customerid_account.name, customerid_account.address1_line1, "    \
    "customerid_account.address1_line2, customerid_account.address1_city, "                                  \
    "customerid_account.address1_stateorprovince, customerid_account.address1_postalcode, "                  \
    "customerid_account.address1_country, parentcontactid.firstname, parentcontactid.lastname, "             \
    "parentcontactid.emailaddress1, parentcontactid.telephone1, owninguser.firstname, owninguser.lastname, " \
    "owninguser.internalemailaddress, owninguser.address1_telephone1, "                                      \
    "'msft_opportunity_msft_microsoftsolution[].msft_price', "                                               \
    "'msft_opportunity_msft_microsoftsolution[].msft_quantity', "                                            \
    "'msft_opportunity_msft_microsoftsolution[].msft_solutionid.msft_name', "                                \
    "'msft_opportunity_msft_microsoftsolution[].msft_solutionid.msft_solutionidentifier', "                  \
    "msft_microsoftpartnercenterreferralsync, msft_microsoftpartnercenterreferralidentifier, "               \
    "msft_microsoftpartnercenterreferrallink, msft_microsoftpartnercenterreferralprogram, "                  \
    "msft_microsoftpartnercenterhelp@label, msft_customerpurchaseintent@label, "                             \
    "msft_microsoftpartnercenterreferralvisible, msft_microsoftcrmidentifier, "                              \
    "msft_microsoftpartnercenterreferralsyncaudit]"

/* Read whatever the setting says, as is the primary key: order, echo and state depend on them. */
static const char *const DYNAMICS_365_COLUMNS_ALWAYS[] = {"versionnumber", "modifiedon", "_modifiedby_value",
                                                          "statecode", "statuscode"};

#endif
